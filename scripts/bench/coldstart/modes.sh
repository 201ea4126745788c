# The modes of a cold start: what differs is dedupd's configuration.

MODES=lazy

# modes_prepare: once, before the first round.
modes_prepare() { :; }

# mode_config MODE IMAGE: the jq program that changes the configuration.
mode_config() { echo .; }
