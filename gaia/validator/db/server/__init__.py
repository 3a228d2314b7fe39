"""What the database server says of itself: sessions, sizes, activity and history."""
