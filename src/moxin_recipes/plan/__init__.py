"""What a ladder will take on given machines, before anything is paid for or downloaded."""
