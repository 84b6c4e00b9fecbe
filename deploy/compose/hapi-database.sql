-- HAPI's own database beside the state of screener.
CREATE DATABASE hapi OWNER screener;
