import argparse, asyncio, decimal, email.message, http.client, json, logging, re, sqlite3, ssl, unittest, urllib.request, xml.dom.minidom

import serve

serve.serve_or_run(globals())
