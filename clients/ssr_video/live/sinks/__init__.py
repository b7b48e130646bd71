"""Where events go: files that rotate, a webhook, an MQTT broker, Parquet."""
