# Prints one line of JSON for each process that runs from a user's folder.
Get-Process | Where-Object { $_.Path -like 'C:\Users\*' } | ForEach-Object {
    [pscustomobject]@{
        name = $_.Name
        pid = $_.Id
        path = $_.Path
        sha256 = (Get-FileHash -LiteralPath $_.Path -Algorithm SHA256).Hash
    } | ConvertTo-Json -Compress
}
