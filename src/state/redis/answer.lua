-- The end of each script.
return cjson.encode({epoch = epoch[1], count = string.format('%d', count), done = op[ARGV[1]]() or {}})
