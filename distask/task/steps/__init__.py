"""The steps of a task made of tasks, made ready: pure functions over rows; who asks a model is the runner."""
