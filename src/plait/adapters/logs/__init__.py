"""What executions print: capture in this process, and reading it back."""
