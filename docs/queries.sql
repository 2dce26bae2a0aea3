-- Twelve questions to the results of a screen, for DuckDB, started in the results folder.
-- A null is not a "no": WHERE covid_flag takes flagged images, WHERE covid_flag IS NOT TRUE all others.
-- `pip install duckdb` gives a Python package and no command; docs/tables.md says how to run this file with it.

-- 1. What became of the images?
-- Every image is one row: `ok` has scores, `excluded` and `failed` have a reason.
SELECT status, reason, count(*) AS images
FROM 'predictions/*.parquet'
GROUP BY ALL ORDER BY images DESC, reason;

-- 2. What should be read first, and why?
-- The head of the review queue. `queue.csv` has the same for a spreadsheet.
SELECT rank, image_id, reasons, round(score, 3) AS score
FROM 'review_queue/*.parquet'
ORDER BY rank LIMIT 20;

-- 3. What share is flagged, by month?
-- Of the images with a score. A date that is not known is a line of its own, not a month.
SELECT strftime(i.acquired_on, '%Y-%m') AS month, count(*) AS scored,
       count(*) FILTER (WHERE p.covid_flag) AS flagged,
       round(count(*) FILTER (WHERE p.covid_flag) / count(*), 3) AS share
FROM 'predictions/*.parquet' p JOIN 'images/*.parquet' i USING (image_id)
WHERE p.covid_flag IS NOT NULL
GROUP BY month ORDER BY month NULLS LAST;

-- 4. What share is flagged, by site?
SELECT coalesce(i.site, i.dataset) AS site, count(*) AS scored,
       count(*) FILTER (WHERE p.covid_flag) AS flagged,
       round(count(*) FILTER (WHERE p.covid_flag) / count(*), 3) AS share
FROM 'predictions/*.parquet' p JOIN 'images/*.parquet' i USING (image_id)
WHERE p.covid_flag IS NOT NULL
GROUP BY ALL ORDER BY scored DESC, site;

-- 5. What share is flagged, by device?
-- A device that differs from the others is a reason to look at its images.
SELECT coalesce(i.device, 'not known') AS device, count(*) AS scored,
       count(*) FILTER (WHERE p.covid_flag) AS flagged,
       round(count(*) FILTER (WHERE p.covid_flag) / count(*), 3) AS share
FROM 'predictions/*.parquet' p JOIN 'images/*.parquet' i USING (image_id)
WHERE p.covid_flag IS NOT NULL
GROUP BY ALL ORDER BY scored DESC, device;

-- 6. Which patients have two or more flagged studies?
-- An image without a patient or a study cannot be counted here.
SELECT i.patient_id, count(DISTINCT i.study_id) AS flagged_studies,
       min(i.acquired_on) AS first, max(i.acquired_on) AS last
FROM 'predictions/*.parquet' p JOIN 'images/*.parquet' i USING (image_id)
WHERE p.covid_flag AND i.patient_id IS NOT NULL
GROUP BY i.patient_id HAVING count(DISTINCT i.study_id) >= 2
ORDER BY flagged_studies DESC, i.patient_id;

-- 7. Which images has nobody read?
-- Without a score, or beyond the capacity of the queue. `unread.csv` has the same.
SELECT status, why, count(*) AS images, count(queue_rank) AS of_them_in_the_queue, min(path) AS example
FROM 'unread/*.parquet'
GROUP BY ALL ORDER BY images DESC, why;

-- 8. Where do score and mask disagree?
-- Flagged without outlined disease, or much outlined disease without a flag.
SELECT image_id, round(p_covid, 3) AS p_covid, covid_flag, round(disease_area, 4) AS disease_area
FROM 'predictions/*.parquet'
WHERE (covid_flag AND disease_area < 0.002) OR (NOT covid_flag AND disease_area > 0.05)
ORDER BY covid_flag DESC, p_covid DESC, image_id LIMIT 20;

-- 9. What is the sensitivity by view?
-- Only where the label is known, and only in the test split: training images flatter.
SELECT p.view, count(*) AS covid_images, count(*) FILTER (WHERE p.covid_flag) AS found,
       round(count(*) FILTER (WHERE p.covid_flag) / count(*), 3) AS sensitivity
FROM 'predictions/*.parquet' p JOIN 'images/*.parquet' i USING (image_id)
WHERE i.covid = 1 AND i.split = 'test' AND p.covid_flag IS NOT NULL
GROUP BY p.view ORDER BY covid_images DESC;

-- 10. How fast was the screen? The process that ended last, start-up included.
SELECT started_at, ended_at, images, seconds, images_per_second
FROM read_json('run.json', columns = {started_at: 'VARCHAR', ended_at: 'VARCHAR', images: 'BIGINT',
                                      seconds: 'DOUBLE', images_per_second: 'DOUBLE'});

-- 11. What did readers say of the flagged images?
-- Needs a table of readings, `reviews/`, in this folder; the last reading of a reader counts.
SELECT p.covid_flag, r.abnormal, count(*) AS images
FROM 'predictions/*.parquet' p JOIN (
  SELECT image_id, reader, max_by(abnormal, read_at) AS abnormal
  FROM 'reviews/*.parquet' GROUP BY image_id, reader) r USING (image_id)
GROUP BY ALL ORDER BY p.covid_flag DESC NULLS LAST, r.abnormal DESC NULLS LAST;

-- 12. Where is the disease of the most urgent image?
-- The masks are PNG of the model's frame; the first image of the queue that has masks.
SELECT m.image_id, i.uri, i.member, m.lung_png, m.disease_png, m.original_top, m.original_left,
       m.rows_per_pixel, m.columns_per_pixel, p.height, p.width
FROM 'masks/*.parquet' m JOIN 'review_queue/*.parquet' q USING (image_id)
JOIN 'predictions/*.parquet' p USING (image_id) JOIN 'images/*.parquet' i USING (image_id)
ORDER BY q.rank LIMIT 1;
