"""`redpool dashboard`: what it shows, to whom, and how often it looks."""
