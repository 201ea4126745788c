import flask
import numpy as np
import pandas as pd
import requests
import scipy.linalg

app = flask.Flask(__name__)


@app.route("/")
def inverse():
    return str(pd.DataFrame(scipy.linalg.inv(np.eye(4) * 4)).sum().sum())


print("ready: version 2", app.test_client().get("/").text, requests.__version__)
