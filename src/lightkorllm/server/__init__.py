"""The HTTP server: Flask application, served by waitress."""
