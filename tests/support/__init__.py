"""What several test files share: commands, processes, servers, small models and hostile inputs."""
