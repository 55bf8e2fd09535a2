"""What several tests share: small specs, finished studies, results that were made up, and the commands as a user types them."""
