print("ready: version 1")
