"""Whatever interrupts a thread or a task, wherever: nothing is lost, and no reply is swapped."""
