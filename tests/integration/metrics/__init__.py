"""What exporters and logs say of pools."""
