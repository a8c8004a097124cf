"""What a version sees and says while it is live, compared with what it was trained on; and who is told."""
