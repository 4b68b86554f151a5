"""The pages of authorization: what people see in their browser before and after a login or a consent."""
