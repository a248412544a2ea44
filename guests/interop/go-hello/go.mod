module samara.test/guests/go-hello

go 1.22
