"""What tests run in processes of their own, since interruptions would hit pytest, too."""
