"""What tests are made with: one face for threads and tasks, servers, interruptions, fixtures."""
