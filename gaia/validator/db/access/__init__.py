"""How connections are lent and given back, and which validator may write over them."""
