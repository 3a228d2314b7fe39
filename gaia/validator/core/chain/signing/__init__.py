"""What the hotkey signs, what it has signed, and until when it may."""
