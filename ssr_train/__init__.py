"""Train, import, evaluate and bundle SSR-Net. Import the submodule you need; nothing heavy is loaded here."""
