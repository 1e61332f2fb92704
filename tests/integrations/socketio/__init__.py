"""python-socketio over redpool."""
