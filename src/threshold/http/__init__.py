"""What the shells share: who is calling, what a refusal says, how long to wait. Knows no concrete store."""
