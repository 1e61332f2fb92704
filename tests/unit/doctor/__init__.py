"""The doctor's rules, on made-up facts."""
