"""Dynamic neural networks, written as their papers describe them; the compiler never imports them."""
