-- What is read in a database of the original validator; nothing is written there.

-- name: columns
-- Columns of some tables.
SELECT table_name, column_name
  FROM information_schema.columns
 WHERE table_schema = current_schema()
   AND table_name = ANY($1::text[]);

-- name: newest_init_time
-- Initial time of the newest run in which a miner has a score.
SELECT max(run.gfs_init_time_utc::timestamptz)
  FROM weather_forecast_runs AS run
  JOIN weather_forecast_stats AS stats
    ON stats.run_id = run.id
 WHERE coalesce(stats.overall_forecast_score, stats.forecast_score_initial) IS NOT NULL;

-- name: scores_after
-- What each miner has in the runs after an initial time, the newest row of a miner and run first.
SELECT run.id AS run,
       run.gfs_init_time_utc::timestamptz AS init_time,
       run.run_initiation_time::timestamptz AS opened_at,
       stats.miner_uid AS uid,
       stats.miner_hotkey AS hotkey,
       stats.forecast_score_initial::float8 AS day1,
       ARRAY[stats.era5_score_24h, stats.era5_score_48h, stats.era5_score_72h, stats.era5_score_96h,
             stats.era5_score_120h, stats.era5_score_144h, stats.era5_score_168h, stats.era5_score_192h,
             stats.era5_score_216h, stats.era5_score_240h]::float8[] AS leads,
       stats.overall_forecast_score::float8 AS overall,
       stats.updated_at::timestamptz AS scored_at
  FROM weather_forecast_runs AS run
  JOIN weather_forecast_stats AS stats
    ON stats.run_id = run.id
 WHERE run.gfs_init_time_utc::timestamptz > $1
 ORDER BY init_time, uid, scored_at DESC NULLS LAST;
