CREATE EXTERNAL TABLE metrics (
  `account` string,
  `region` string,
  `namespace` string,
  `metric` string,
  `instance_id` string,
  `dimensions` string,
  `timestamp` timestamp,
  `period_s` int,
  `average` double,
  `p99` double
)
PARTITIONED BY (`date` string)
STORED AS PARQUET
LOCATION 'METRICS/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.date.type' = 'date',
  'projection.date.format' = 'yyyy-MM-dd',
  'projection.date.range' = 'DATE,NOW',
  'storage.location.template' = 'METRICS/date=${date}/'
);

CREATE EXTERNAL TABLE instances (
  `account` string,
  `region` string,
  `namespace` string,
  `instance_id` string,
  `dimensions` string,
  `type` string,
  `zone` string,
  `platform` string,
  `state` string,
  `launch_time` timestamp,
  `tags` string,
  `sources` string,
  `outcome` string,
  `rows` bigint,
  `class` string,
  `reason` string
)
PARTITIONED BY (`date` string)
STORED AS PARQUET
LOCATION 'INSTANCES/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.date.type' = 'date',
  'projection.date.format' = 'yyyy-MM-dd',
  'projection.date.range' = 'DATE,NOW',
  'storage.location.template' = 'INSTANCES/date=${date}/'
);

