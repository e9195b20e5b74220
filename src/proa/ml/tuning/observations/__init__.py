"""What was measured: the points of each trial's metrics (`observations`), and what they come to (`observation`)."""
