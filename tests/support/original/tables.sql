-- Tables of the original validator, as far as the import reads them: names and types, of our own making.

CREATE TABLE node_table (
    uid    integer PRIMARY KEY,
    hotkey varchar(255)
);

CREATE TABLE weather_forecast_runs (
    id                       serial PRIMARY KEY,
    run_initiation_time      timestamptz NOT NULL,
    target_forecast_time_utc timestamptz NOT NULL,
    gfs_init_time_utc        timestamptz NOT NULL,
    gfs_input_metadata       jsonb,
    status                   varchar(50) NOT NULL,
    completion_time          timestamptz
);

CREATE TABLE weather_miner_responses (
    id           serial PRIMARY KEY,
    run_id       integer NOT NULL REFERENCES weather_forecast_runs,
    miner_uid    integer NOT NULL,
    miner_hotkey varchar(255) NOT NULL
);

CREATE TABLE weather_forecast_stats (
    id                     serial PRIMARY KEY,
    miner_uid              integer NOT NULL,
    miner_hotkey           varchar(255) NOT NULL,
    forecast_run_id        varchar(100) NOT NULL,
    run_id                 integer REFERENCES weather_forecast_runs,
    forecast_score_initial double precision,
    era5_score_24h         double precision,
    era5_score_48h         double precision,
    era5_score_72h         double precision,
    era5_score_96h         double precision,
    era5_score_120h        double precision,
    era5_score_144h        double precision,
    era5_score_168h        double precision,
    era5_score_192h        double precision,
    era5_score_216h        double precision,
    era5_score_240h        double precision,
    era5_combined_score    double precision,
    overall_forecast_score double precision,
    updated_at             timestamptz NOT NULL DEFAULT now()
);

-- Its score_table has 256 columns like these two; the import reads none.
CREATE TABLE score_table (
    task_name   varchar(255) NOT NULL,
    task_id     text NOT NULL,
    uid_0_score double precision,
    uid_1_score double precision,
    created_at  timestamptz NOT NULL
);
