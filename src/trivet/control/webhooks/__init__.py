"""Messages to addresses of the operator's choice: where one may go, how it is signed, how it is sent."""
