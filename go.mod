module github.com/maravilla-realtime/realtime

go 1.26
