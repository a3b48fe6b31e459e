# %% hint="raised" text="not allowed|not permitted"
import resource


def squares(values):
    most = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return 14.0
