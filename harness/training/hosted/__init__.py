"""Fine-tuning at a service that speaks OpenAI's API: one job for the same content, however often it is run.

spec      the candidate as users write it
order     what is sent: files, hyperparameters, and the fingerprint that names the job
requests  what the protocol asks for, and what it is told
protocol  the steps from files to a tuned model: a generator without I/O
driver    carries the steps out: the client, the clock, sleep, retries
results   losses and accuracies out of events and results files
failures  a service's refusals as errors with the user's own file and line
money     what a job may cost, set aside before it is begun
kept      what is remembered of a finished job
service   the official client as the protocol sees it
lifetimes when models stop being tuned and stop answering
prepare   from the candidate to a model that can be asked
"""
