"""What both planes share: the values that are sent, stored and compared, and how any process of ours begins, logs and ends."""
