import numpy

import serve

serve.serve_or_run(globals())
