-- Where something of a feed may be hidden (`unseen`), it is behind `whole`: up to there everything was heard, and so was
-- everything that the origin stamped up to `whole_hlc`.
ALTER TABLE feeds ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
ALTER TABLE feeds ADD COLUMN whole_hlc INTEGER NOT NULL DEFAULT 0;
-- Everything that the origin stamped up to here was heard before this.
ALTER TABLE unheld ADD COLUMN after_hlc INTEGER NOT NULL DEFAULT 0;
