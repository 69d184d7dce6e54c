"""A stand-in for the part of Splunk SOAR's app authoring API that the example uses.

Written from https://help.splunk.com/en/splunk-soar/soar-cloud/develop-apps (App authoring API).
`make test-examples` uses the classes of Splunk's own SDK in its place.
"""
