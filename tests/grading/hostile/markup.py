# %% hint="raised" text="<script>"
def squares(values):
    raise ValueError("</pre><script>alert(1)</script><img src=x onerror=alert(1)>")
