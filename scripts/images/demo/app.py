import numpy
import pandas

print("ready", pandas.DataFrame(numpy.linalg.inv(numpy.eye(4) * 2)).sum().sum())
