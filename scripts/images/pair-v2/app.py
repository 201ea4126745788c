print("ready: version 2")
