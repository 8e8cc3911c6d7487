"""Tuning at a service: one job for the same content, however often it is run. Knows no candidate.

provider        the protocol of a service, its values, and how a call can fail
openai          OpenAI's API behind the official SDK: OpenAI, Azure, Nebius and others, by profile
openai_objects  objects of that API as plain values
request         a job before anything is sent: settings, files, and the fingerprint that names it
jobs            a job found, submitted once, and waited for; what that needs besides the service
budget          what a job may cost, set aside before it is begun
metrics         losses and accuracies out of events and results files
errors          refusals as errors with the user's own file and line
record          a job on disk: its state while it is under way, and its records
services        which services are known: their shapes as data in known/, compared with the SDK
lifetimes       when models stop being tuned and stop answering
"""
