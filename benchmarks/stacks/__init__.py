"""What becomes of well-known libraries over redis-py's pools, as they come, and over redpool's: connections, failures.

pip install -r benchmarks/stacks/requirements.txt
python -m benchmarks.stacks
"""
