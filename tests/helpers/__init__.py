"""What tests share: recordings, servers, strategies. No tests."""
