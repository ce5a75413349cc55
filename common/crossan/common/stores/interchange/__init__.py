"""Making stores from the feature files of other tools, and such files from stores."""
