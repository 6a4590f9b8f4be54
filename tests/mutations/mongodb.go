package main

// MongoDB, of mongostore.
var mongoDB = []mutation{
	{
		rule: "MongoDB: a change replaces what was loaded only",
		file: "mongostore/store.go",
		find: "	filter := bson.D{\n		{Key: fieldID, Value: text(swap.New.ID)},\n		{Key: fieldRevision, Value: bson.D{{Key: \"$in\", Value: revisions}}},\n	}\n",
		with: "	_ = revisions\n	filter := bson.D{{Key: fieldID, Value: text(swap.New.ID)}}\n",
		dies: "mongostore/integration: TestStore_KeepsTheContract",
	},
	{
		rule: "a change that meets something else is a conflict",
		file: "mongostore/store.go",
		find: "	case result.MatchedCount+result.UpsertedCount == 0:\n		return &session.ConflictError{ID: swap.New.ID}\n",
		with: "	case result == nil:\n",
		dies: "mongostore/integration: TestStore_KeepsTheContract",
	},
	{
		rule: "MongoDB: a swap that was made is no conflict",
		file: "mongostore/store.go",
		find: "	revisions := bson.A{text(swap.New.Revision)}\n",
		with: "	revisions := bson.A{}\n",
		dies: "mongostore/integration: TestGuarantee03_SentTwice",
	},
	{
		rule: "MongoDB: what is gone is not put back",
		file: "mongostore/store.go",
		find: ".SetUpsert(swap.Old == nil))",
		with: ".SetUpsert(true))",
		dies: "mongostore/integration: TestGuarantee02_NoResurrection_OfWhatIsGone",
	},
	{
		rule: "MongoDB: an end leaves a tombstone that is there",
		file: "mongostore/store.go",
		find: ", {Key: fieldEnded, Value: false}}, document,",
		with: "}, document,",
		dies: "mongostore/integration: TestStore_KeepsTheContract",
	},
	{
		rule: "an end reaches a session that is created meanwhile",
		file: "mongostore/store.go",
		find: "		if err == nil && current.Ended {",
		with: "		if err == nil {",
		dies: "mongostore/integration: TestStore_EndOfASessionThatIsCreatedMeanwhile",
	},
	{
		rule: "nothing is done in the application's transaction",
		file: "mongostore/store.go",
		find: "	if mongo.SessionFromContext(ctx) == nil {\n",
		with: "	if ctx != nil {\n",
		dies: "mongostore/integration: TestStore_NotInTheApplicationsTransaction",
	},
}
