"""How files stay whole, and where those lie that can be made again."""
