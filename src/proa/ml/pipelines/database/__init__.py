"""What is remembered: experiments, pipelines, runs, tasks, artifacts, schedules."""
